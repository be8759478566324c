// Find the faces of a picture: dotnet run -- PICTURE
using System.Text.Json;

var url = Environment.GetEnvironmentVariable("FACE_API_URL") ?? "http://127.0.0.1:8000";
using var client = new HttpClient();
client.DefaultRequestHeaders.Add("X-API-Key", Environment.GetEnvironmentVariable("FACE_API_KEY") ?? "");

// multipart/form-data with the file part `image`; Mask.cs sends the bytes alone, which is faster.
using var form = new MultipartFormDataContent();
form.Add(new StreamContent(File.OpenRead(args[0])), "image", Path.GetFileName(args[0]));
using var response = await client.PostAsync($"{url}/api/v1/detect?confidence=0.5", form);
var answer = await response.Content.ReadAsStringAsync();
if (!response.IsSuccessStatusCode)
{
    var detail = JsonDocument.Parse(answer).RootElement.GetProperty("detail").GetString();
    Console.Error.WriteLine($"{(int)response.StatusCode}: {detail}");
    return 1;
}
Console.WriteLine(answer);
return 0;
